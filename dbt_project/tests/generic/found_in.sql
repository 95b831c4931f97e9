{# Rows whose columns, taken together, do not occur in the other model. #}
{% test found_in(model, columns, to) %}

select asked.*
from {{ model }} as asked
left join {{ to }} as known
    on
        {% for column in columns -%}
            {{ 'and ' if not loop.first }}asked.{{ column }} = known.{{ column }}
        {% endfor %}
where known.{{ columns | first }} is null

{% endtest %}
